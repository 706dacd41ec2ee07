for (const [event, width] of [["beforeprint", 690], ["afterprint", null]])
  window.addEventListener(event, () => document.querySelectorAll(".js-plotly-plot").forEach(plot =>
  {
    const share = plot.closest(".two:not(.uneven)") ? 0.485 : 1;
    Plotly.relayout(plot, width ? {width: width * share, autosize: false}
                                : {width: null, autosize: true});
  }));
